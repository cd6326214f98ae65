"""The shares that a mixture search proposes, by themselves."""
