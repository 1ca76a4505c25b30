def fizz(n):
    """Says the number, or what it is divisible by."""
    words = [word for by, word in ((3, "fizz"), (5, "buzz")) if n % by == 0]
    return "".join(words) or str(n)


for n in range(1, 16):
    print(f"{n:>2} {fizz(n)}")
