"""What people read: numbers from the ledger as pages, JSON, CSV, PDF and on the command line."""
