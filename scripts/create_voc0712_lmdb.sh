#!/usr/bin/env bash
# Makes the databases of VOC07+12: trained on VOC2007 trainval + VOC2012 trainval (16,551 images), tested on VOC2007
# test (4,952). They lie where `netgen build --dataset voc0712 --data-root OUT` and SSD-Caffe's scripts look for them.
#   bash scripts/create_voc0712_lmdb.sh VOCDEVKIT [OUT]      OUT is the present folder unless given
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
devkit=${1:?"give the folder VOCdevkit, which holds VOC2007 and VOC2012"} out=${2:-.}
source "$here/lmdb_functions.sh"

voc=http://host.robots.ox.ac.uk/pascal/VOC
need "$devkit/VOC2007/ImageSets/Main/trainval.txt" "$voc/voc2007/VOCtrainval_06-Nov-2007.tar"
need "$devkit/VOC2007/ImageSets/Main/test.txt" "$voc/voc2007/VOCtest_06-Nov-2007.tar"
need "$devkit/VOC2012/ImageSets/Main/trainval.txt" "$voc/voc2012/VOCtrainval_11-May-2012.tar"
stop_if_missing
count_lines "$devkit/VOC2007/ImageSets/Main/trainval.txt" 5011
count_lines "$devkit/VOC2007/ImageSets/Main/test.txt" 4952
count_lines "$devkit/VOC2012/ImageSets/Main/trainval.txt" 11540

data="$out/data/VOC0712" examples="$out/examples/VOC0712"
mkdir -p "$data" "$examples"
make "$examples/VOC0712_trainval_lmdb" voc "$devkit/VOC2007" "$devkit/VOC2012" --split trainval --shuffle --clip-boxes \
  --labelmap-out "$data/labelmap_voc.prototxt" --name-size "$data/trainval_name_size.txt" --list "$data/trainval.txt"
make "$examples/VOC0712_test_lmdb" voc "$devkit/VOC2007" --split test --clip-boxes \
  --labelmap "$data/labelmap_voc.prototxt" --name-size "$data/test_name_size.txt" --list "$data/test.txt"
