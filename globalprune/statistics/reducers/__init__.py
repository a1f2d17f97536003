"""The statistics of a pass, one module each: what is accumulated at the sites."""
