"""The methods' claims, measured on two CPU cores."""
