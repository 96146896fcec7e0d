"""Exports of the book, for spreadsheets and finance systems."""
