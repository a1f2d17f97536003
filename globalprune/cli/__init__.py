"""The command line: one thin file a command; the only place that prints or catches our errors."""
