"""The map page and the reports, made from the files that the stages leave."""
