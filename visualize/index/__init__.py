"""A million pairs under the viewer."""
