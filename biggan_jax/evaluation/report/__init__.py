"""The report of an evaluation: on the terminal, as JSON, as pictures and as one HTML page."""
