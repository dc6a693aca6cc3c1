"""A trained net with weights from a file of another code base, and such files of a trained net."""

from __future__ import annotations

from pathlib import Path

from converters.caffemodel import Weights
from converters.files import STATES, Trained, ending
from converters.names import CODE_BASES, from_state, to_state
from prototxt.errors import UserError
from prototxt.graph import Graph


def read_theirs(net: str | Path, weights: str | Path | None, code_base: str) -> Trained:
    """The net of a prototxt with the weights of a state_dict that another code base wrote.

    Layers that their model lacks get what their fillers give, so that training can start from there; a note says so.

    Raises:
        UserError: an unknown code base, a file that is no state_dict, a net that is not the same as their model.
    """
    CODE_BASES[code_base]  # an unknown one is said before anything is read
    if weights is None or ending(weights) not in STATES:
        raise UserError(f"--from {code_base} reads a state_dict", where=str(weights or net), expected=", ".join(STATES))
    from converters.pytorch import CaffeNet
    from converters.pytorch.states import read_state

    graph = Graph.load(net)
    found = from_state(graph, read_state(weights), code_base, weights)
    if not found.missing:
        return Trained(graph, found.weights, found.notes)
    filled = Weights(CaffeNet(graph, found.weights).weights(), str(weights))
    note = f"not trained, but as their fillers make them: {', '.join(found.missing)}"
    return Trained(graph, filled, [*found.notes, note])


def write_theirs(trained: Trained, out: Path, code_base: str) -> str:
    """Write the state_dict that a model of another code base loads.

    Raises:
        UserError: an unknown code base, another ending than a state_dict's, a net that is none of its models.
    """
    if ending(out) not in STATES:
        raise UserError(f"--to {code_base} writes a state_dict", where=str(out), expected=", ".join(STATES))
    from converters.pytorch.states import write_state

    state, notes = to_state(trained.graph, trained.weights, code_base)
    write_state(out, state)
    return f"a state_dict of {len(state)} tensors; {'; '.join(notes)}"
