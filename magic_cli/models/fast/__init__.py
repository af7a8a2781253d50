"""Modules that compute what a library's compute, faster."""
