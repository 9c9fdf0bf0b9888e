"""Basic tools: errors, files, locks, the console, processes, devices, the version. Imports no sibling package."""
