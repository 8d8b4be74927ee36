"""Photos by URL: checked addresses, HTTP, rate of a host, state of each URL."""
