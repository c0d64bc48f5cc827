"""SOP Classes that pydicom's dictionary does not hold yet (PS3.4 B.5)."""

from pydicom.uid import UID

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
