"""Going through many clusters: what is staged, who goes next, what people say to it, and when
windows are open.
"""
