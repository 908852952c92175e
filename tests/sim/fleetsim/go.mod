module fleetsim

go 1.26
