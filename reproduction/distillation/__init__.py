"""CaTeR's claims, measured on two CPU cores."""
