"""Who wrote a file or asks for an association (PS3.7 D.3.3.2): plain texts, known without loading pydicom."""

CLASS_UID = "2.25.101272493104532340899762718008465841996"
"""Implementation Class UID (PS3.7 D.3.3.2) of file meta information and association negotiation."""

VERSION_NAME = "CSPINE_0"
"""Implementation Version Name (PS3.7 D.3.3.2.3), at most 16 characters."""
