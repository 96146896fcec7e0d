"""The book: tables, money, prices, limits, posting, reports. No HTTP, no FastAPI, no Stripe."""
