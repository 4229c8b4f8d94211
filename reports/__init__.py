"""Reports: outputs made from stored results. They import `bench`, never a runner."""
