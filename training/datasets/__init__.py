"""Pictures with annotations, in the published layouts of COCO and Cityscapes."""
