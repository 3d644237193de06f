"""What labels at work need: processes with calculators of their own, and the file that keeps what they have."""
