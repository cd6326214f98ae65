"""All phases of a recipe together: the `training:` section, where they stand, what they come to."""
