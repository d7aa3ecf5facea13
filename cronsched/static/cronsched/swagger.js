"use strict";
// validatorUrl null: without it Swagger UI sends the document's address to its makers' validator.
window.ui = SwaggerUIBundle({
  url: document.currentScript.dataset.schema,
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
});
