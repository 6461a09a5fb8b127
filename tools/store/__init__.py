"""Where data lie: data sets, tables of JSON lines, files written whole, locks."""
