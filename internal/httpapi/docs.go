package httpapi

import (
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/openapi"
)

// showOpenAPI answers with the API's contract, whatever the node's roles.
func (s *Server) showOpenAPI(c *fiber.Ctx) error {
	return Raw(c, fiber.StatusOK, openapi.JSON())
}

// showDocs answers with the contract as a page.
func (s *Server) showDocs(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentSecurityPolicy, openapi.PagePolicy())
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.Send(openapi.Page())
}
