"""What has to be true of the classes of my_flow.py: a table of laws for each, on `cnf.testing`."""
