"""Files of services and clusters, checked for form: nothing here runs a container.

`compose-spec.json` is the schema of https://github.com/compose-spec/compose-spec (170098b, Apache
2.0).
"""
