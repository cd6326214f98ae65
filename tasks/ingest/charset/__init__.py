"""Character encodings: decoders of the WHATWG Encoding Standard, and detection."""
