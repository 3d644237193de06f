"""One page of what a ladder of temperatures, or several side by side, did: a single HTML file that opens offline."""
