"""The processes of a supervised run, and where its forces are computed."""
