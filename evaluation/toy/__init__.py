"""The toy world's benchmark: held-out stories and questions about them."""
