"""The methods' claims, measured on two CPU cores."""

import tools as tools  # Ctrl-C is one line from here on
