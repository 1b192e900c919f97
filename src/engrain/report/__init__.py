"""From findings and samples to one page: `report.html`, `report.md` and the figures."""
