"""Character encodings: the decoders of the WHATWG standard, and detection of an encoding."""
