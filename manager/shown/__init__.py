"""What people read: rows as objects, counts, reasons, and why something is as it is. Writes nothing."""
