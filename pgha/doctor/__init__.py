"""`doctor`: what stands between a configuration and a healthy cluster, before `init` and after."""
