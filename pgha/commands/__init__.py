"""Pure builders of commands. They run nothing and import the standard library only.

The image carries this package, so the node's own process builds its commands by it too.
"""
