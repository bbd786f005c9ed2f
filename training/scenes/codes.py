"""The codes of the canvas: semantic classes in the order of CITYSCAPES, void, then objects."""

(
    ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY,
) = range(11)  # fmt: skip
VOID = 19
FIRST_OBJECT = 20
LAST_OBJECT = 255
