"""Servers on the loopback interface that stand in for those on the Internet."""
