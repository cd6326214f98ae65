"""Character sets: the WHATWG decoders, and which of them bytes are in."""
