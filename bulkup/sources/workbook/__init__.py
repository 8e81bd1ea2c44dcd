"""Excel workbooks: read by openpyxl, in a process of their own."""
