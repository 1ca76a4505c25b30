SELECT c.name, COUNT(*) AS orders, SUM(o.total) AS total
FROM customers AS c
JOIN orders AS o ON o.customer_id = c.id
WHERE o.placed_at >= '2026-01-01'
GROUP BY c.name
HAVING COUNT(*) > 3
ORDER BY total DESC;
