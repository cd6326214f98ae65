"""Stage tokenizer: the base's tokenizer, as it is, grown by further merges or pieces, or trained
from bytes.
"""
