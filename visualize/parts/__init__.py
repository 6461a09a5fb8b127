"""What the viewer's pages share."""
