"""config.json: read, judged, and written for a cut model."""
