"""What a truth holds where nothing is known: losses leave it out, so that nobody's guess is trained on."""

UNKNOWN_LEVEL = 255
"""A voxel of a label map whose level is unknown."""
UNKNOWN = -1.0
"""A pixel of a fracture mask, or a slice, of which nobody said whether it is fractured."""
