"""Tests on several Docker hosts: the lab's (docs/lab.md)."""
