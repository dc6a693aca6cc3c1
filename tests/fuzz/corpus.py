"""What the fuzzer has found: files that once ended in a traceback, a hang, a crash or gigabytes of memory."""

from __future__ import annotations

import zlib
from base64 import b85decode
from typing import NamedTuple

from tests.fuzz import seeds


class Found(NamedTuple):
    """A file.

    Attributes:
        target: its reader.
        said: a part of the message.
    """

    target: str
    data: bytes
    said: str


def _changed(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


def _png(length: int, width: int = 12, height: int = 10) -> bytes:
    """The start of a PNG: its header, and a chunk that announces `length` bytes."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + b"\x08\2\0\0\0" + bytes(4) + length.to_bytes(4, "big") + b"IDAT"


def _bomb() -> bytes:
    """YAML of a kilobyte that means 9^9 words."""
    lists = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9)]
    return "\n".join(["a0: &a0 [x]", *lists, "names: [*a9]"]).encode()


# Files of the HDF5 library, packed, as few words describe where they are damaged.
_ENDLESS_LINKS = (
    "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf&I_ROVe$!3nh{EOK<O1sFmXn(oCH){5NbZUx{x4OSCH!eXaHu92@8Z)U>F4>5qP*d27u@dP<{lIzR!t2ot"
    "@`~@Za;2XD=fID<o|*!uSvy7#SH+(mjl32HFc^3ve(nupp&aRt65RI1>{SSSbh89A-uXXv$_mvw6axj0YYd4)*hRVPs%~mlQRu`1J%p=@U$-VTB$"
    "y98hruX6)t|K<Opy`0aCm(mOcttAmv#6WHh*hO|#pJ#0fMO)-)cCK6z_pn^O+OvE`D#OtB*xWi@vJNB^Y7;M2}Py2MTg<~kC6K1UGgaa)MAbu4F6"
    "5@FMegax^h@;uEVo24Cd8sAwnI)-3@rFiv$%$!csk!+nsX1_IkQ9hcE-flb%`1s7E=er_@pCitGIL9F<8$(hi(%^Ga}tY7;#13j>KJlT6N~avQ{s"
    "WfgU!jvEH23}s)Pq~1kH;?4G0a1HFyGr)ePu-@{5D{+^Cfc3{(uMWI(9-oX!WK1*ocZ6b%0cH!P>a8rJ-L*c)YrXqAxznf5{&mrU@+U_Tdr^{`~Q"
    "o_{pXNNHrUV3effmZ19uuon;=gF1WwSip|;"
)
_CRASH = (
    "c-rlnJ#W)M7{||NyLFOAq*A2>1_*+o6HQ-+s!M}tAQMEu&<WK_V+AQ{3ke7zAsEBP$~S;-0b2()7T7X&gijD`-*b+Asq<ba>i;+N$#eJIOV5w){%"
    "84pdFO6Ac_qm_EQ=W|!@_ilk6Te+*6)$k$hOIT;<8-x>vB}SNd2pEj~|vwUUXMMj?*!PwHUaFluNfOp4}y1X6Z4H#_iiJJDiW@DaVb=-?A?Jx;a|"
    "@o+OaJ{{ZW}=WpAL##IjwUd}RqAKibj<7Kd1h`b)%uhl#T<Lv{LdEp-=M%xF93-lbYq&UZ1mdSodMB@r%SIMrCU03v0VZwc2c|O{Yn#Uk+AD9zsr"
    "b%BsL5+(7gW@ieRejyvLA=Pt{57h}v#iCkZ>ipNpO9D2b<tspZTh}OI*0r98f(^HI8LJ$^siC*e$8pvtzNlBJC@G%c3O5Jrb8i{GdN$2Ag>Ck!SV"
    "9k`;i?SC-+(V#^5-)k6vH-zw^pFH#GOrsOQGQkak~a9c3JkiTkFkH;>6v000000C2u}^`yF&yXyWpW?K07-@m66Bli^c#;ey^<Fym?Z@K}Mpnq`_"
    "aPKg!YQ6S+eXZ}la+2#!&FoFFFwr^*eQoyX>-3OzdAfh7apshF5VgNcihnO=+$Ht@Qtn5FGC$~g00000fbno8Yv+#txAgA&WX`lgJmWXbSS%3Yrw"
    "i~SA;4*zIltW!YgX+>?a*<WwU%Gb6(MQ#rWV+72nqIQH%}Gp)<{A;H)Nd8w}j0N5aJ$RW8#vE|1%~|72>~R;#47?Sb-1+00000n6VJ=|C+Pg{dM-"
    "`gY`QPbh>OJ(1UXMB7K|sFS3mk+mHb!>3dJd_r~vR8&n=HQ}p&Ky$a_vJcaI_>2nbJz5fHpVXx(%Zbf}{-SA;F00000z{TbdiL(4c"
)
_HANG = (
    "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf&I_ROVe$!3nh{EOK<O1sFmXn(oCH){5NbZUx{x4OSCH!eXaHu92@8Z)Kye)l!zdUTz{Axs07P$q@*|-1eN"
    "O!8>^wJw|DKmTdl?y6A!(Zt#)sIz$jFG2?qM`D&|VN*fCH8~At{!Xfdeeg#KZ(v$^kWpnbCj+ds?0_DC2<#h=cw7T^JeI;3Y*3D}FrzQ2GQDYFI("
    "zrU4c=98hruX8h(YVaG4;0Ht?u;8zDLOD3?<Hw>wprV_EFsUEhWl%^QT3KI!1TTnqB9wy=(4C3`rdEEJJ0Xz1v=@@LmVo&?BXA8$rN+--%(+LM!7"
    "(o0g3?#(y`uzm7<`74-WyO%H7xPj};xkK9i{cH9^pX?P(o%EtQ&Mx_(jX}iom^T}l$uu(UtE$}0OIFn=4IxV=Empb7Z=0S#pfgzm&B)*0oB2qVfC"
    "pcU~@7ui%as0D&fH#LGvO}142V$4W2-m(Heft6c-2cp$!BBG#6D2sboN?`JB!Np#?@;l7j>&3`p}CmTzIrWPUzWb+BAuh*q^YkZCWZsmKIx+Vykc"
    "R}V{{>-mRGL^IN}>BxdnK9XB5?iavbVss4Zzy<)KL4x!"
)


def _hdf5(packed: str) -> bytes:
    return zlib.decompress(b85decode(packed))


_LONG = "9" * 5000
CORPUS = {
    "an enum's number of 33 bits": Found("net", _changed(seeds.OLD_NET, "SOFTMAX", "4294967296"), "cannot be"),
    "a window of gigabytes": Found(
        "net", _changed(seeds.NET, "local_size: 3", "local_size: 4294967295"), "not as much memory as it takes"
    ),
    "a stride of gigabytes": Found(
        "net",
        _changed(seeds.OLDEST_NET, "stride: 2 pool", "stride: 2147483648 pool"),
        "not as much memory",
    ),
    "more maxima than values": Found("convert", _changed(seeds.NET, "top_k: 1 ", "top_k: 128 "), "top_k 128 is not in"),
    "stochastic pooling": Found(
        "convert", _changed(seeds.OLDEST_NET, "pool: AVE", "pool: 2"), "stochastic pooling has"
    ),
    "a prior box of more pixels than an integer holds": Found(
        "net", _changed(seeds.NET, "max_size: 8", "max_size: 9223372036854775808"), "below 2^31; one of them is not"
    ),
    "HDF5 without end": Found("solverstate.h5", _hdf5(_ENDLESS_LINKS), "memory allocation failed"),
    "HDF5 that hangs": Found("solverstate.h5", _hdf5(_HANG), "this is not a solverstate in HDF5"),
    "HDF5 that crashes": Found("caffemodel.h5", _hdf5(_CRASH), "no whole caffemodel"),
    "a data file above the model": Found("onnx", seeds.onnx_models("../bait.bin")[0], "outside the model's folder"),
    "a data file behind a link": Found("onnx", seeds.onnx_models("link.bin")[0], "outside the model's folder"),
    "a picture of gigabytes": Found("picture", _png(8, 1 << 15, 1 << 15), "not a picture"),
    "a part of a picture of gigabytes": Found("picture", _png(10**9), "not a picture"),
    "a number of thousands of digits": Found("coco", _changed(seeds.COCO, '"id": 3', f'"id": {_LONG}'), "of digits"),
    "a name too long for a file": Found("list.txt", b"x" * 5000 + b" boxes.txt", "is not there"),
    "a name with a NUL": Found("list.txt", b"x\0.png boxes.txt", "is not there"),
    "a million mistakes": Found("boxes.txt", b"x\n" * 500_000, '"x" is no box'),
    "brackets in brackets": Found("yolo.yaml", b"names: " + b"{" * 5000, "nested too deep"),
    "references to references": Found("yolo.yaml", _bomb(), "a class has no name"),
    "megabytes of YAML": Found("yolo.yaml", b"[a, " * 200_000, "too many for the YAML"),
    "a folder with a NUL": Found("yolo.yaml", _changed(seeds.YOLO_YAML, "path: .", 'path: "a\\0b"'), "no folder"),
}
