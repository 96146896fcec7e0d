"""The book: tables, money, journal, posting and reports. It knows no HTTP, no FastAPI and no Stripe."""
