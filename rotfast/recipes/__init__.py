"""Training recipes: a typed configuration and an explicit training loop each.

Nothing else in rotfast imports them.
"""
