-- What each version of a price said: the cost of a call can be told item by item after its price has changed.

-- up
CREATE TABLE usage_prices (
  version {text} NOT NULL PRIMARY KEY,
  price {text} NOT NULL
) {clustered_end};

-- down
DROP TABLE usage_prices;
