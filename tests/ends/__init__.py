"""What a service may still receive of requests that were given up or killed: schedules, and figures."""
