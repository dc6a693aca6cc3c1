#!/usr/bin/env bash
# Makes the databases of COCO trainval35k (118,287 images) and minival (5,000). They lie where
# `netgen build --dataset coco --data-root OUT` and SSD-Caffe's scripts look for them; the label map is SSD-Caffe's:
# the 80 categories in the order of their numbers (1 to 90), named by these.
#   bash scripts/create_coco_lmdb.sh COCO [OUT]      OUT is the present folder unless given
#
# COCO holds `annotations`, and folders of images (or these in `images`). What is there decides:
#   2014 with instances_minival2014.json and instances_valminusminival2014.json: the published lists;
#   2014 with instances_val2017.json: the same, as the 5,000 images of val2017 are those of minival;
#   2017: the same images once more, called otherwise (train2017 is trainval35k, val2017 is minival).
# With image_info_test-dev2015.json and test2015 there is a database of test-dev, too: images alone.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
coco=${1:?"give COCO's folder, which holds annotations, train2014, val2014 …"} out=${2:-.}
source "$here/lmdb_functions.sh"

annotations="$coco/annotations" images="$coco"
[ -d "$coco/images" ] && images="$coco/images"
data="$out/data/coco" examples="$out/examples/coco"
has() { [ -e "$annotations/$1" ]; }
train=(--root "$coco" --shuffle --clip-boxes --labelmap-out "$data/labelmap_coco.prototxt" --list "$data/train.txt"
  --name-size "$data/train_name_size.txt")
minival=(--root "$coco" --clip-boxes --labelmap "$data/labelmap_coco.prototxt" --list "$data/minival.txt"
  --name-size "$data/minival2014_name_size.txt")

site=http://images.cocodataset.org
if has instances_train2014.json || [ -d "$images/train2014" ]; then
  year=2014
  need "$annotations/instances_train2014.json" $site/annotations/annotations_trainval2014.zip
  train+=(--images "$images/train2014" --images "$images/val2014" "$annotations/instances_train2014.json")
  if has instances_val2014.json && has instances_val2017.json && ! has instances_minival2014.json; then
    train+=("$annotations/instances_val2014.json" --without "$annotations/instances_val2017.json")
    minival+=("$annotations/instances_val2014.json" --only "$annotations/instances_val2017.json")
  else
    lists=https://dl.fbaipublicfiles.com/detectron/coco/coco_annotations_minival.tgz
    need "$annotations/instances_minival2014.json" $lists
    need "$annotations/instances_valminusminival2014.json" $lists
    train+=("$annotations/instances_valminusminival2014.json")
    minival+=("$annotations/instances_minival2014.json")
  fi
else
  year=2017
  need "$annotations/instances_train2017.json" $site/annotations/annotations_trainval2017.zip
  need "$annotations/instances_val2017.json" $site/annotations/annotations_trainval2017.zip
  train+=(--images "$images/train2017" "$annotations/instances_train2017.json")
  minival+=("$annotations/instances_val2017.json")
fi
minival+=(--images "$images/val$year")
need "$images/train$year" $site/zips/train$year.zip
need "$images/val$year" $site/zips/val$year.zip
stop_if_missing

mkdir -p "$data" "$examples"
make "$examples/coco_train_lmdb" coco "${train[@]}"
make "$examples/coco_minival_lmdb" coco "${minival[@]}"
if has image_info_test-dev2015.json && [ -d "$images/test2015" ]; then
  make "$examples/coco_testdev_lmdb" coco "$annotations/image_info_test-dev2015.json" --images "$images/test2015" \
    --root "$coco" --unlabelled --labelmap "$data/labelmap_coco.prototxt" --list "$data/testdev.txt" \
    --name-size "$data/test-dev2015_name_size.txt"
fi
